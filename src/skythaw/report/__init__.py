"""From a ledger to what people read: numbers in `facts`, pictures in `figures`."""

from skythaw.callable_room import is_a_function_too

is_a_function_too(__name__)
