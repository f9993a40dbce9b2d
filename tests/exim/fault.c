/* What libmtasts must never do, for the tests that show what Exim makes of it.
 *
 * The file /etc/mtasts/fault holds two words: a place and what happens there.
 *   lookup 3     mtasts_exim_lookup returns status 3
 *   lookup crash mtasts_exim_lookup crashes
 *   tls:cert crash, msg:delivery crash, ...: mtasts_exim_event crashes at that event
 *   tls:cert 3   mtasts_exim_event returns status 3 there
 * Otherwise every domain has an enforced policy without a restriction of its MX hosts, and no event is refused.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static unsigned char enforce[] = "mode=enforce ignore=\"\" id=fault";
static unsigned char nothing[] = "";
static unsigned char fault[] = "a fault on purpose";

static int happens(const char *place, unsigned char **yield, unsigned char *otherwise)
{
	char where[64] = "", what[64] = "";
	FILE *file = fopen("/etc/mtasts/fault", "re");
	if (file) {
		if (fscanf(file, "%63s %63s", where, what) != 2)
			where[0] = 0;
		fclose(file);
	}
	*yield = otherwise;
	if (strcmp(where, place) != 0)
		return 0;
	if (strcmp(what, "crash") == 0)
		abort();
	*yield = fault;
	return atoi(what);
}

int mtasts_exim_lookup(unsigned char **yield, int argc, unsigned char **argv)
{
	(void)argc, (void)argv;
	return happens("lookup", yield, enforce);
}

int mtasts_exim_event(unsigned char **yield, int argc, unsigned char **argv)
{
	return argc ? happens((char *)argv[0], yield, nothing) : 3;
}

/* For any place of a configuration: returns the status that it is given. */
int status(unsigned char **yield, int argc, unsigned char **argv)
{
	*yield = fault;
	return argc ? atoi((char *)argv[0]) : 3;
}
