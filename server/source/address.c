#include "source/address.h"

#include <curl/curl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

bool tt_prometheus_address(const char *url, const char *api, char **ret_endpoint, char *shown, size_t size, tt_err *err) {
    CURLU *u = curl_url();
    char *root = NULL, *path = NULL, *scheme = NULL, *query = NULL, *full = NULL, *copy = NULL;
    CURLUcode code = u ? curl_url_set(u, CURLUPART_URL, url, 0) : CURLUE_OUT_OF_MEMORY;
    bool ok = code == CURLUE_OK && curl_url_get(u, CURLUPART_SCHEME, &scheme, 0) == CURLUE_OK &&
              (strcmp(scheme, "http") == 0 || strcmp(scheme, "https") == 0);
    if (ok && curl_url_get(u, CURLUPART_QUERY, &query, 0) != CURLUE_NO_QUERY) ok = false;
    if (!ok) {
        tt_fail(err, TT_EVALUE, "\"%s\" is not the address of a Prometheus: give its root, like http://127.0.0.1:9090%s%s", url,
                code != CURLUE_OK ? "; " : "", code != CURLUE_OK ? curl_url_strerror(code) : "");
    } else {
        char with_api[1024] = "";
        curl_url_get(u, CURLUPART_PATH, &path, 0);
        size_t n = path ? strlen(path) : 0;
        while (n && path[n - 1] == '/') n--;
        snprintf(with_api, sizeof with_api, "%.*s%s", (int)n, path ? path : "", api);
        ok = curl_url_set(u, CURLUPART_PATH, with_api, 0) == CURLUE_OK && curl_url_get(u, CURLUPART_URL, &full, 0) == CURLUE_OK &&
             (copy = strdup(full)) != NULL;
        with_api[n < sizeof with_api ? n : 0] = 0;
        curl_url_set(u, CURLUPART_PATH, with_api, 0);
        curl_url_set(u, CURLUPART_USER, NULL, 0);
        curl_url_set(u, CURLUPART_PASSWORD, NULL, 0);
        ok = ok && curl_url_get(u, CURLUPART_URL, &root, 0) == CURLUE_OK;
        if (ok) {
            snprintf(shown, size, "%s", root);
            n = strlen(shown);
            if (n && shown[n - 1] == '/') shown[n - 1] = 0;
            *ret_endpoint = copy;
            copy = NULL;
        } else
            tt_fail(err, TT_ENOMEM, "out of memory reading the address of Prometheus");
    }
    free(copy);
    curl_free(root);
    curl_free(path);
    curl_free(scheme);
    curl_free(query);
    curl_free(full);
    curl_url_cleanup(u);
    return ok;
}
