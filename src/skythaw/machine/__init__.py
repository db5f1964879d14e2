"""What belongs to a machine: device, numerics, allocator, time and memory used, files written whole or not at all."""
