"""Sets of customer numbers as bytes: what goes in comes out, and unions are exact."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from apps.metrics import customer_sets

NUMBERS = st.one_of(st.integers(1, 300), st.integers(1, 2_000_000))
SETS = st.lists(st.lists(NUMBERS, max_size=60), max_size=6)


@given(SETS)
def test_the_union_of_packed_sets_is_the_union_of_the_sets(sets):
    packed = [customer_sets.packed(np.array(one, np.uint32)) for one in sets]
    unpacked = [customer_sets.unpacked(one) for one in packed]
    assert [found.tolist() for found in unpacked] == [sorted(set(one)) for one in sets]
    assert customer_sets.size_of_union(unpacked) == len(set().union(*sets))


def test_a_set_is_never_longer_than_its_numbers_or_a_bit_for_each():
    everybody = np.arange(1, 100_001, dtype=np.uint32)
    assert len(customer_sets.packed(everybody)) <= 100_000 // 8 + 3
    some = np.arange(1, 100_001, 97, dtype=np.uint32)
    assert len(customer_sets.packed(some)) == 1 + 2 * len(some)
    far = np.array([1, 2_000_000], np.uint32)
    assert len(customer_sets.packed(far)) == 1 + 4 * 2
