"""The codes that are compared: each module gives the calls to time and the versions used."""
