"""Why a classifier answers as it does on one image."""

from skythaw.callable_room import is_a_function_too

is_a_function_too(__name__)
