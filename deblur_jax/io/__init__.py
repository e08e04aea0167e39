"""Photos and videos in and out, as people have them."""
