"""Where the record is kept. ``kg.stores.record.open_record`` opens one; ``kg.stores.views`` looks at it as a graph."""
