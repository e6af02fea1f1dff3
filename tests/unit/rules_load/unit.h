/* What the tests of this room share. */
#ifndef RULES_LOAD_UNIT_H
#define RULES_LOAD_UNIT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "plan.h"

/* Fails with the row's name and, where there is one, the error. */
#define ROW_FAIL(row, ...)                                                                                                                           \
    do {                                                                                                                                             \
        print_error("row \"%s\": ", row);                                                                                                            \
        print_error(__VA_ARGS__);                                                                                                                    \
        print_error("\n");                                                                                                                           \
        fail();                                                                                                                                      \
    } while (0)

#endif
