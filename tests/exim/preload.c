/* For LD_PRELOAD: leaves a file beside itself when it is loaded into a program with root's rights. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <stdio.h>
#include <unistd.h>

unsigned la_version(unsigned version)
{
	return version;
}

__attribute__((constructor)) static void loaded(void)
{
	char path[PATH_MAX], file[PATH_MAX + 16];
	Dl_info info;
	if (geteuid() != 0 || !dladdr((void *)loaded, &info))
		return;
	snprintf(path, sizeof path, "%s", info.dli_fname);
	snprintf(file, sizeof file, "%s/preloaded", dirname(path));
	close(open(file, O_CREAT | O_WRONLY | O_CLOEXEC, 0644));
}
