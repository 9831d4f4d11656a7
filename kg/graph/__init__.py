"""The graph beside the record: reading it, copying it to a graph database, exporting, importing, viewing, drawing."""
