"""A trained model put to use: exported, run by other libraries, asked about pictures."""
