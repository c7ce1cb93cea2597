"""Django's backend of MariaDB and MySQL, with ids as texts of 32 digits on both.

MariaDB's type `uuid` refuses some ids, those of a version above 5 and a variant below 8, which
a merchant may have.
"""

from django.db.backends.mysql import base, features


class DatabaseFeatures(features.DatabaseFeatures):
    has_native_uuid_field = False


class DatabaseWrapper(base.DatabaseWrapper):
    features_class = DatabaseFeatures
