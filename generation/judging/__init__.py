"""Language models as judges: how sure they are of "yes", and orders that they write."""
