"""What is wrong in a session, by rule."""
