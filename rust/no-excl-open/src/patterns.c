/* Patterns as glob(7) has them: see patterns.h. */
#include "patterns.h"

#include <stddef.h>
#include <string.h>

/* The character at `*at`, which is moved behind it. A byte that is no UTF-8 is a character of its
   own. */
static unsigned next_character(const char **at) {
    unsigned char first = (unsigned char)*(*at)++;
    unsigned more = first >= 0xf0 ? 3 : first >= 0xe0 ? 2 : first >= 0xc0 ? 1 : 0;
    unsigned value = more == 0 ? first : first & (0x3fu >> more);
    for (unsigned i = 0; i < more; i++) {
        unsigned char byte = (unsigned char)(*at)[i];
        if ((byte & 0xc0) != 0x80)
            return 0x110000u + first;
        value = value << 6 | (byte & 0x3f);
    }
    *at += more;
    return first >= 0x80 && more == 0 ? 0x110000u + first : value;
}

/* The end of the brackets that begin at `at` (behind the closing one), NULL when they are none:
   never closed, or with a slash in them. */
static const char *end_of_brackets(const char *at, const char *end) {
    at++;
    if (at < end && (*at == '!' || *at == '^'))
        at++;
    for (bool first = true; at < end && *at != '/'; at++, first = false)
        if (*at == ']' && !first)
            return at + 1;
    return NULL;
}

/* Whether the character is one of those in brackets; `end` is behind the closing one. */
static bool is_in_brackets(const char *at, const char *end, unsigned character) {
    bool negated = at[1] == '!' || at[1] == '^', found = false;
    at += negated ? 2 : 1;
    end--;
    while (at < end) {
        if (*at == '[' && (at[1] == ':' || at[1] == '.' || at[1] == '='))
            return false;
        unsigned low = next_character(&at), high = low;
        if (at + 1 < end && *at == '-') {
            at++;
            high = next_character(&at);
        }
        found = found || (low <= character && character <= high);
    }
    return found != negated;
}

/* Matches what stands at `*pattern` (no star) with one character of `*text`; moves both. */
static bool match_one(const char **pattern, const char *end, const char **text, bool leading) {
    const char *at = *pattern, *rest = *text;
    unsigned character = next_character(&rest);
    bool special = character != '/' && !(leading && character == '.');
    const char *behind = *at == '[' ? end_of_brackets(at, end) : NULL;
    if (behind != NULL) {
        if (!special || !is_in_brackets(at, behind, character))
            return false;
        at = behind;
    } else if (*at == '?') {
        if (!special)
            return false;
        at++;
    } else {
        if (*at == '\\' && at + 1 < end)
            at++;
        if (next_character(&at) != character)
            return false;
    }
    *pattern = at;
    *text = rest;
    return true;
}

/* Whether the pattern's first `length` bytes match all of `whole`, an absolute path. */
static bool matches(const char *pattern, size_t length, const char *whole) {
    const char *end = pattern + length, *text = whole;
    /* Where to go on after the last `*` and the last `**`: two are enough, since a later star of
       the same reach takes over from an earlier one. */
    const char *star = NULL, *star_text = NULL, *deep = NULL, *deep_text = NULL;
    for (;;) {
        if (pattern < end && *pattern == '*') {
            const char *first = pattern;
            while (pattern < end && *pattern == '*')
                pattern++;
            if (pattern - first > 1) {
                deep = pattern;
                deep_text = text;
                star = NULL;
            } else {
                star = pattern;
                star_text = text;
            }
            continue;
        }
        if (*text == '\0' && pattern == end)
            return true;
        if (*text != '\0' && pattern < end &&
            match_one(&pattern, end, &text, text > whole && text[-1] == '/'))
            continue;
        /* A star does not take the period that a name begins with. */
        if (star != NULL && *star_text != '\0' && *star_text != '/' &&
            !(*star_text == '.' && star_text > whole && star_text[-1] == '/')) {
            pattern = star;
            text = ++star_text;
            continue;
        }
        if (deep != NULL && *deep_text != '\0') {
            pattern = deep;
            text = ++deep_text;
            star = NULL;
            continue;
        }
        return false;
    }
}

static bool has_dot_dot(const char *path) {
    for (const char *at = path; (at = strstr(at, "..")) != NULL; at += 2)
        if ((at == path || at[-1] == '/') && (at[2] == '/' || at[2] == '\0'))
            return true;
    return false;
}

bool is_listed(const char *patterns, const char *path) {
    if (has_dot_dot(path))
        return false;
    for (const char *at = patterns; *at != '\0';) {
        size_t length = strcspn(at, ":");
        if (length > 0 && matches(at, length, path))
            return true;
        at += length + (at[length] != '\0');
    }
    return false;
}
