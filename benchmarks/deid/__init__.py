"""Does de-identification of text find what it must, and leave what is medical? Not here: the rules."""
