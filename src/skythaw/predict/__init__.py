"""Many images through a bundle, in bounded memory."""

from skythaw.callable_room import is_a_function_too

is_a_function_too(__name__)
