"""Words of the golden models' vocabularies."""

UNCASED = """
. , ! ? ' - the a is was and not very it this my of to in for
good bad fine great poor awful lovely broken fresh stale cheap dear soft loud fast slow
cheese bread apple phone laptop cable shirt shoe coat table lamp chair
tasted arrived works fits looks smells feels broke charge bright
##s ##ed ##ing ##er ##ly ##ness un re
""".split()

CASED = """
. , ! the The a A is Is was and not very it It Luke I am your father cheese Cheese good Good bad Bad
delicious tasty boat bigger we We need going to thought ##s ##ed ##ing ##er S s Ä ß É é
""".split()
