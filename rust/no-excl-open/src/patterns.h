/* NO_EXCL_OPEN_PATHS: on which files the shim acts. */
#pragma once
#include <stdbool.h>

/* Whether a pattern of the list, which colons separate, matches the absolute path. Patterns are
   those of glob(7), byte for byte but for characters of UTF-8, which are one each; beyond it `**`
   crosses directories, and `[:alpha:]` and its like match nothing. A path with `..` in it matches
   none. */
bool is_listed(const char *patterns, const char *path);
