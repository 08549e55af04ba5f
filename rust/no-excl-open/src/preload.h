/* Where the shim acts: LD_PRELOAD, the program it is for, and who wants to know. */
#pragma once
#include <stdbool.h>

/* Looks at the environment. When this is the program that the shim is for, the shim leaves
   LD_PRELOAD, so that it ends with this program, and true is the answer. Else LD_PRELOAD stays as
   it is, so that the shim gets on to what is started next. Runs once, while the program is loaded. */
bool is_for_this_program(void);

/* Adds a mark to the file of NO_EXCL_OPEN_REPORT. Async-signal-safe. */
void report(char mark);

#define REPORT_LOADED 'L'
#define REPORT_OPENED 'O'
