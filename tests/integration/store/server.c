/* A PostgreSQL server of the test's own: in a temporary directory, on a Unix socket there, with fsync on. A guardian process ends it
 * and removes the directory when the test is over, however the test ends. */
#include "fixture.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <libpq-fe.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#ifndef POSTGRES_BIN
#define POSTGRES_BIN "/usr/lib/postgresql/15/bin"
#endif

static struct {
    char dir[64], data[96], log[96], options[256];
    uid_t uid;
    gid_t gid;
    int leash; /* its closing lets the guardian act */
    pid_t guardian;
} pg;

static _Noreturn void give_up(const char *what, const char *arg) {
    fprintf(stderr, "test_store: %s%s%s%s%s\n", what, *arg ? ": " : "", arg, errno ? ": " : "", errno ? strerror(errno) : "");
    exit(1);
}

static int run(char *const argv[]) {
    pid_t pid = fork();
    if (pid == 0) {
        if (geteuid() == 0 && (setgid(pg.gid) != 0 || setuid(pg.uid) != 0)) _exit(126);
        if (chdir("/") != 0 || !freopen("/dev/null", "r", stdin) || !freopen(pg.log, "a", stdout) || dup2(1, 2) < 0) _exit(126);
        close(pg.leash);
        execv(argv[0], argv);
        _exit(127);
    }
    int status = -1;
    while (pid > 0 && waitpid(pid, &status, 0) < 0 && errno == EINTR) {
    }
    return status;
}

static int remove_one(const char *path, const struct stat *st, int flag, struct FTW *at) {
    (void)st;
    (void)flag;
    (void)at;
    return remove(path);
}

static void guard(int pipe_end) {
    char c;
    while (read(pipe_end, &c, 1) < 0 && errno == EINTR) {
    }
    char *const stop[] = {POSTGRES_BIN "/pg_ctl", "-D", pg.data, "-m", "immediate", "-w", "-t", "30", "stop", NULL};
    run(stop);
    nftw(pg.dir, remove_one, 32, FTW_DEPTH | FTW_PHYS);
    tree_remove();
}

void server_chown(const char *path) {
    if (geteuid() == 0 && chown(path, pg.uid, pg.gid) != 0) give_up("cannot chown", path);
}

static void complain(const char *what) {
    fprintf(stderr, "test_store: PostgreSQL: %s; its log:\n", what);
    FILE *f = fopen(pg.log, "r");
    for (int c; f && (c = getc(f)) != EOF;) putc(c, stderr);
    if (f) fclose(f);
    server_stop();
    exit(1);
}

void server_again(void) {
    char *const start[] = {POSTGRES_BIN "/pg_ctl", "-D", pg.data, "-o", pg.options, "-l", pg.log, "-w", "-t", "200", "start", NULL};
    if (run(start) != 0) complain("pg_ctl start failed");
}

void server_start(void) {
    errno = 0;
    if (access(POSTGRES_BIN "/initdb", X_OK) != 0 || access(POSTGRES_BIN "/pg_ctl", X_OK) != 0)
        give_up("PostgreSQL's server is needed and is not here (Debian: apt install postgresql)", POSTGRES_BIN);
    const struct passwd *who = geteuid() == 0 ? getpwnam("postgres") : getpwuid(geteuid());
    if (!who && geteuid() == 0) who = getpwnam("nobody");
    if (!who) give_up("no user to run PostgreSQL as: it refuses root", "");
    pg.uid = who->pw_uid;
    pg.gid = who->pw_gid;
    snprintf(pg.dir, sizeof pg.dir, "/tmp/trimtab-pg-XXXXXX");
    if (!mkdtemp(pg.dir)) give_up("cannot make", pg.dir);
    server_chown(pg.dir);
    snprintf(pg.data, sizeof pg.data, "%s/data", pg.dir);
    snprintf(pg.log, sizeof pg.log, "%s/log", pg.dir);
    /* After a crash the server syncs every file it has, one by one: minutes on a busy disk, with a database for each test. */
    snprintf(pg.options, sizeof pg.options, "-c listen_addresses='' -c recovery_init_sync_method=syncfs -c unix_socket_directories=%s", pg.dir);
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0) give_up("cannot make a pipe", "");
    pg.leash = ends[1];
    pg.guardian = fork();
    if (pg.guardian == 0) {
        setsid(); /* an interrupted test must not take it along */
        close(ends[1]);
        guard(ends[0]);
        _exit(0);
    }
    close(ends[0]);
    char *const init[] = {POSTGRES_BIN "/initdb", "-D", pg.data, "-U", "trimtab", "-A", "trust", "-E", "UTF8", "--locale=C", NULL};
    if (run(init) != 0) complain("initdb failed");
    server_again();
}

void server_crash(void) {
    char *const stop[] = {POSTGRES_BIN "/pg_ctl", "-D", pg.data, "-m", "immediate", "-w", "-t", "30", "stop", NULL};
    if (run(stop) != 0) complain("pg_ctl stop failed");
}

void server_stop(void) {
    close(pg.leash);
    waitpid(pg.guardian, NULL, 0);
}

const char *server_socket_dir(void) {
    return pg.dir;
}

void server_sql(const char *db, const char *sql) {
    char conninfo[256];
    snprintf(conninfo, sizeof conninfo, "host=%s user=trimtab dbname=%s", pg.dir, db);
    PGconn *c = PQconnectdb(conninfo);
    PGresult *r = PQexec(c, sql);
    ExecStatusType got = PQresultStatus(r);
    if (got != PGRES_COMMAND_OK && got != PGRES_TUPLES_OK) fail_msg("%s: %s", sql, PQerrorMessage(c));
    PQclear(r);
    PQfinish(c);
}
