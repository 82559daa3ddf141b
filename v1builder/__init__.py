"""From published Allen Institute data on mouse V1 to a trainable, heterogeneous spiking network."""
