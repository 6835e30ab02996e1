/* Values of a column as text. */
#ifndef BUFCTL_VALUE_H
#define BUFCTL_VALUE_H

#include "../bufferd.h"
#include <stdio.h>

/* Item i of the data. Floats in the fewest digits that read back as the same number; what JSON
 * cannot say (nan, inf) is null there. */
void value_print(FILE *out, const void *data, uint64_t i, int item_type, bool is_json);

#endif
