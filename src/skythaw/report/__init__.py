"""From a ledger to what people read: numbers in `facts`, pictures in `figures`."""
