"""Does knowledge cause the gain? A made world whose looks follow a real disease hierarchy, and a twin in which not."""
