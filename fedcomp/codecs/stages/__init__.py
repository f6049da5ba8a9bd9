"""The stages of a chain, one short file each; ``fedcomp.codecs.registry`` lists them."""
