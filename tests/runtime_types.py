"""The type checker that tests run the library's signatures under: shapes by jaxtyping, the rest by beartype."""

from beartype import BeartypeConf, beartype

# An int is a good float, as PEP 484 has it.
check = beartype(conf=BeartypeConf(is_pep484_tower=True))
