"""Places on the sphere: great circles, and coordinates as files spell them."""
