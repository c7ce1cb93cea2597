"""The words that records are made of. Faker makes them once; the records only draw from them.

Faker takes about 50 µs a name, which is why it never meets a record.
"""

import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

from faker import Faker

from headrace.synth.cells import Pool, json_pool, pool

# Half of the people are from the first; the others bring accents and other scripts.
LOCALES = ("en_US", "de_DE", "fr_FR", "es_ES", "pl_PL", "ja_JP")
NAMES_PER_LOCALE = 128
STREETS = 512
OPERATORS = 64
COMPANIES = 64

CATEGORIES = {
    "Electronics": ('27" Monitor', "Headphones", "Charger", "Keyboard", "Camera", "Speaker"),
    "Clothing": ("Jacket", "T-Shirt", "Jeans", "Scarf", "Sneakers", "Raincoat"),
    "Home": ("Lamp", "Chair", "Rug", "Bookshelf", "Curtain", "Mirror"),
    "Kitchen": ("Café Press", '10" Skillet', "Kettle", "Knife Set", "Purée Mill", "Toaster"),
    "Sports": ("Yoga Mat", "Dumbbell", "Bicycle Pump", "Tent", "Football", "Racket"),
    "Beauty": ("Crème", "Shampoo", "Perfume", "Lotion", "Brush", "Soap"),
    "Toys": ("Puzzle", "Building Set", "Doll", "Kite", "Board Game", "Train"),
    "Garden": ("Hose", "Spade", "Planter", "Parasol", "Lawn Mower", "Seed Kit"),
    "Office": ("Notebook", "Stapler", "Desk Pad", "Fountain Pen", "Label Maker", "Shredder"),
    "Food": ("Olive Oil", "Espresso Beans", "Jalapeño Sauce", "Honey", "Tea", "Chocolate"),
}
QUALITIES = ("Premium", "Classic", "Compact", "Deluxe", "Everyday", "Pro", "Eco", "Vintage")
NOUNS_PER_CATEGORY = 6


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """Pools of JSON text. Index `locale * NAMES_PER_LOCALE + n` of the first four belong together
    by locale; index `category * NOUNS_PER_CATEGORY + n` of `nouns` by category."""

    first_names: Pool
    last_names: Pool
    first_mailboxes: Pool
    last_mailboxes: Pool
    streets: Pool
    operators: Pool
    companies: tuple[str, ...]
    sku_prefixes: Pool
    qualities: Pool
    colours: Pool
    nouns: Pool


@lru_cache(maxsize=4)
def vocabulary(seed: int) -> Vocabulary:
    """The words for a seed; the same seed gives the same words."""
    fakers = [_faker(locale, seed) for locale in LOCALES]
    english = fakers[0]
    first = [name for faker in fakers for name in _words(faker.first_name, NAMES_PER_LOCALE)]
    last = [name for faker in fakers for name in _words(faker.last_name, NAMES_PER_LOCALE)]
    return Vocabulary(
        first_names=json_pool(first),
        last_names=json_pool(last),
        first_mailboxes=pool(map(_mailbox, first)),
        last_mailboxes=pool(map(_mailbox, last)),
        streets=json_pool(_words(english.street_name, STREETS)),
        operators=json_pool(_words(english.name, OPERATORS)),
        companies=tuple(_words(english.company, COMPANIES)),
        sku_prefixes=pool(name[:3].upper().encode() for name in CATEGORIES),
        qualities=json_pool(QUALITIES),
        colours=json_pool(_words(english.color_name, 64)),
        nouns=json_pool(noun for nouns in CATEGORIES.values() for noun in nouns),
    )


def _faker(locale: str, seed: int) -> Faker:
    faker = Faker(locale)
    faker.seed_instance(seed)
    return faker


def _words(make: Callable[[], str], count: int) -> list[str]:
    return [make() for _ in range(count)]


def _mailbox(name: str) -> bytes:
    """The name in lower-case ASCII letters, without its accents; "customer" if nothing is left."""
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").lower()
    return re.sub(rb"[^a-z]", b"", plain) or b"customer"
