"""What stands in the patterns of addresses."""

from django.urls.converters import UUIDConverter


class Id(UUIDConverter):
    """`<id:…>`: a UUID in letters of either case, as everywhere else.

    Django's `uuid` takes the lower case only, and from 6.0 on may not be overridden.
    """

    regex = UUIDConverter.regex.replace("a-f", "a-fA-F")
