"""A local page on which a visitor drops a photo and sees the people in it counted."""
