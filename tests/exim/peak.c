/* Runs a program and tells, on a last line of standard error, the most memory that it held (KiB) and its time (ms). In
 * between stands a process of no size: at exec(2) the kernel counts what the parent held as the program's. */
#include <stdio.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

int main(int argc, char **argv)
{
    struct timespec begin, end;
    struct rusage usage;
    int status;
    if (argc < 2)
        return 2;
    clock_gettime(CLOCK_MONOTONIC, &begin);
    pid_t child = fork();
    if (child == 0) {
        execvp(argv[1], argv + 1);
        _exit(127);
    }
    if (child < 0 || wait4(child, &status, 0, &usage) != child)
        return 3;
    clock_gettime(CLOCK_MONOTONIC, &end);
    long took = (end.tv_sec - begin.tv_sec) * 1000 + (end.tv_nsec - begin.tv_nsec) / 1000000;
    fprintf(stderr, "\npeak %ld %ld\n", usage.ru_maxrss, took);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 4;
}
