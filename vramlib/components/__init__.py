"""The eight rows of the table, one file each, and the mechanisms of engines that they lean on."""
