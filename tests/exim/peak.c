/* Runs a program and tells, on a last line of standard error, the most memory that it held (KiB) and the processor time
 * that it used (ms), which a busy machine does not change. In between stands a process of no size: at exec(2) the kernel
 * counts what the parent held as the program's. */
#include <stdio.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

int main(int argc, char **argv)
{
    struct rusage usage;
    int status;
    if (argc < 2)
        return 2;
    pid_t child = fork();
    if (child == 0) {
        execvp(argv[1], argv + 1);
        _exit(127);
    }
    if (child < 0 || wait4(child, &status, 0, &usage) != child)
        return 3;
    struct timeval user = usage.ru_utime, system = usage.ru_stime;
    long took = (user.tv_sec + system.tv_sec) * 1000 + (user.tv_usec + system.tv_usec) / 1000;
    fprintf(stderr, "\npeak %ld %ld\n", usage.ru_maxrss, took);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 4;
}
