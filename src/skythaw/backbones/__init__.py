"""The networks: which there are, where their weights come from, their blocks, and cutting them at a depth."""

from skythaw.callable_room import is_a_function_too

is_a_function_too(__name__)
