/* trimtab version: what this is, and what it was built with. */
#include <curl/curl.h>
#include <event2/event.h>
#include <jansson.h>
#include <microhttpd.h>
#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#include <sqlite3.h>
#include <stdio.h>

#include "cli.h"

int tt_cmd_version(int argc, char **argv) {
    const char *json = NULL;
    const tt_cli_option options[] = {{.name = "json", .help = "As a JSON object, with the libraries in use.", .value = &json}};
    const tt_cli cli = {.usage = "trimtab version [--json]", .about = "Prints the version.", .n_options = TT_COUNT(options), .options = options};
    tt_cli_list operands = {0};
    bool go;
    int code = tt_cli_parse(&cli, argc, argv, &operands, &go);
    if (!go) return code;
    if (operands.n) return tt_cli_wrong(&cli, "\"%s\" is one word too many", operands.at[0]);
    if (!json) {
        printf("trimtab %s\n", TRIMTAB_VERSION);
        return TT_EXIT_OK;
    }
    char pcre[64] = "";
    pcre2_config(PCRE2_CONFIG_VERSION, pcre);
    printf("{\"version\":\"%s\",\"libraries\":{\"curl\":\"%s\",\"jansson\":\"%s\",\"libevent\":\"%s\",\"libmicrohttpd\":\"%s\",\"pcre2\":\"%s\","
           "\"sqlite\":\"%s\"}}\n",
           TRIMTAB_VERSION, curl_version_info(CURLVERSION_NOW)->version, jansson_version_str(), event_get_version(), MHD_get_version(), pcre,
           sqlite3_libversion());
    return TT_EXIT_OK;
}
