"""Frozen activations: what leaves the frozen part of a network is computed once, and read by every cell after that.

The idea
--------
A network is cut at a depth. Below the cut is the prefix, which is frozen: its weights never change. So for one image in
one view, the values that cross the cut are the same in every epoch, for every seed, training size and rate, and for
every cell of the study that is cut there. A study asks for them again and again. Keeping them on the disk turns most of
that work into reading.

What makes it exact
-------------------
A kept value has the same bits as a value that is computed again. Three rules see to it.

* What a prefix gives for an image must not depend on the images beside it. So a prefix always gets 32 images at once
  (`crossing.SLICE`); the last slice is filled up.
* The precision is the cell's (`Recipe.activations`), whether values are kept or not. Training starts from 16-bit
  numbers by default. Scores, and the pooled features of depth 0, are always of 32-bit numbers.
* The folder of a set of values is named after everything that decides their bits: the data, the pixels, the network and
  its weights, the depth, the precision, the processor, the GPU, and the versions of torch and timm
  (`activation_cache`).

So the planner below decides how long a study takes, and never what it finds. See decision 11.

How it runs, in order
---------------------
1. `reuse_plan` decides before anything runs. It counts how often the study's cells would send an image through each
   prefix, how many different images in different views these are, and what keeping them costs in bytes and seconds.
   The eight views and the order of every epoch follow from the seed (`skythaw.tuning.epoch_draw`), so this is known.
2. `fill_cache` passes the images through the network once. One pass gives the values at all the cuts that are kept.
   It is cut into tasks of 1,024 images, which an engine gives to its workers.
3. `activation_files` is the form on the disk: sparse memory-mapped files with room for every image and view, and one
   byte for each that says whether it is there. A value is marked as there after it is written, so a kill loses work but
   never leaves a wrong value. `activation_cache` names the folders, and removes those not used for longest when the
   disk space that the user allows is used up.
4. `crossing` is what training calls. It reads what is kept, and computes the rest.
5. `device_memory` is the first level, above the files: on a graphics card (GPU) the values stay in its memory after
   they were read once, as far as there is room. So do the pixels of which it makes its input. It was never run on one.
"""
