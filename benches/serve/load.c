/* Asks a socketmap server as fast as it answers: one query outstanding on each connection.
 *
 *   load PORT MAP CONNECTIONS MILLISECONDS DOMAINS PID [FIRST]
 *
 * The keys are manyFIRST.test (0) and as many as DOMAINS says, at random. Prints the queries per second, the median and the 99th percentile of the
 * time to a reply in microseconds, the processor time of process PID for each query in microseconds, and how many replies
 * were not OK. MILLISECONDS 0: each domain once, and the seconds that this took. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>

enum { MOST = 1024, SLOTS = 1000000 };
static struct { int fd; double since; char reply[1024]; int have; } client[MOST];
static unsigned slots[SLOTS];
static const char *map;
static int domains, first, once, asked;

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec / 1e9;
}

/* The processor time of a process, in seconds. */
static double used(int pid) {
    char path[64], text[1024], *p;
    unsigned long user, system;
    snprintf(path, sizeof path, "/proc/%d/stat", pid);
    FILE *file = fopen(path, "r");
    if (!file) return 0;
    text[fread(text, 1, sizeof text - 1, file)] = 0;
    fclose(file);
    p = strrchr(text, ')') + 2;
    sscanf(p, "%*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &user, &system);
    return (double)(user + system) / sysconf(_SC_CLK_TCK);
}

static int ask(int n) {
    char key[128], query[160];
    if (once && asked >= domains) return 0;
    int length = snprintf(key, sizeof key, "%s many%d.test", map, first + (once ? asked : rand() % domains));
    length = snprintf(query, sizeof query, "%d:%s,", length, key);
    asked++;
    client[n].have = 0;
    client[n].since = now();
    if (write(client[n].fd, query, length) != length) { perror("write"); exit(1); }
    return 1;
}

int main(int argc, char **argv) {
    if (argc != 7 && argc != 8) return 2;
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(atoi(argv[1]))};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    map = argv[2];
    int connections = atoi(argv[3]), pid = atoi(argv[6]), one = 1, under_way = 0;
    double seconds = atoi(argv[4]) / 1e3;
    domains = atoi(argv[5]);
    first = argc == 8 ? atoi(argv[7]) : 0;
    once = seconds == 0;
    int queue = epoll_create1(0);
    for (int n = 0; n < connections; n++) {
        struct epoll_event event = {.events = EPOLLIN, .data.u32 = n};
        client[n].fd = socket(AF_INET, SOCK_STREAM, 0);
        if (connect(client[n].fd, (struct sockaddr *)&address, sizeof address)) { perror("connect"); return 1; }
        setsockopt(client[n].fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        epoll_ctl(queue, EPOLL_CTL_ADD, client[n].fd, &event);
    }
    double begun = now(), before = used(pid), end = 0;
    for (int n = 0; n < connections; n++) under_way += ask(n);
    unsigned long replies = 0, others = 0;
    while (under_way > 0) {
        struct epoll_event events[256];
        int ready = epoll_wait(queue, events, 256, 60000);
        if (ready <= 0) { fprintf(stderr, "no reply\n"); return 1; }
        double at = now();
        for (int i = 0; i < ready; i++) {
            int n = events[i].data.u32;
            int got = read(client[n].fd, client[n].reply + client[n].have, sizeof client[n].reply - client[n].have);
            if (got <= 0) { fprintf(stderr, "closed\n"); return 1; }
            client[n].have += got;
            if (client[n].reply[client[n].have - 1] != ',') continue;
            replies++;
            others += !memmem(client[n].reply, client[n].have, ":OK ", 4);
            long slot = (at - client[n].since) * 1e6;
            slots[slot < SLOTS ? slot : SLOTS - 1]++;
            under_way--;
            if (once || at - begun < seconds) under_way += ask(n);
            end = at;
        }
    }
    double time = end - begun, processor = used(pid) - before;
    if (once) {
        printf("%.2f %.0f %lu\n", time, replies / time, others);
        return 0;
    }
    unsigned long sum = 0;
    long half = -1, most = -1;
    for (long slot = 0; slot < SLOTS; slot++) {
        sum += slots[slot];
        if (half < 0 && sum * 2 >= replies) half = slot;
        if (most < 0 && sum * 100 >= replies * 99) most = slot;
    }
    printf("%.0f %ld %ld %.1f %lu\n", replies / time, half, most, processor / replies * 1e6, others);
    return 0;
}
