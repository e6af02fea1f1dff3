/* Where a Prometheus is asked. */
#ifndef TT_ADDRESS_H
#define TT_ADDRESS_H

#include "base.h"

/* "http://user:word@prometheus:9090/root/" and "/api/v1/query" give the address to ask (*ret_endpoint, to be freed), and the root to be shown, without
 * what must not be. false and *err: it is no address, or memory is out. */
bool tt_prometheus_address(const char *url, const char *api, char **ret_endpoint, char *shown, size_t size, tt_err *err);

#endif
