#include "fixture.h"

#include <signal.h>
#include <string.h>

int main(int argc, char **argv) {
    signal(SIGPIPE, SIG_IGN);
    tree_make();
    if (argc > 1 && strcmp(argv[1], "limited") == 0) {
        int bad = limited_tests();
        tree_remove();
        return bad ? 1 : 0;
    }
    server_start();
    int bad = journal_tests() + delivery_tests() + fault_tests() + crash_tests() + place_tests();
    server_stop();
    tree_remove();
    return bad ? 1 : 0;
}
