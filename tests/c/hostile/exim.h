/* ---- Exim ---- */

/* Exim's ERROR is 3 and its FAIL_FORCED 4: a mail may bounce then. Every failure is a DEFER, 1, with a text. */
typedef int exim_function(unsigned char **, int, unsigned char **);

static void defers(exim_function *function, int argc, unsigned char **argv) {
    unsigned char *result = NULL;
    CHECK(function(&result, argc, argv) == 1);
    CHECK(result != NULL && strncmp((char *)result, "mtasts[", 7) == 0);
    for (const unsigned char *c = result; *c; c++)
        CHECK(*c >= 0x20 && *c != 0x7f);
    CHECK(function(NULL, argc, argv) == 1);
}

/* `arguments` is how many the function takes at the most, `least` how many it has to have. */
static void exim_of(exim_function *function, int least, int arguments) {
    unsigned char domain[] = "enforced.example", invalid[] = "\xff\xfe";
    unsigned char *argv[8];
    for (int i = 0; i < 8; i++)
        argv[i] = domain;
    const int counts[] = {-2147483647 - 1, -1, 8, 2147483647};
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++)
        defers(function, counts[i], argv);
    for (int count = 0; count <= 7; count++) {
        if ((count < least || count > arguments) && arguments > 0) {
            defers(function, count, argv);
            defers(function, count, NULL);
        }
    }
    /* A domain that is not UTF-8 cannot have a policy. */
    if (arguments > 0) {
        unsigned char *result = NULL;
        argv[0] = invalid;
        CHECK(function(&result, arguments, argv) == 0 && result != NULL);
        const char *text = (const char *)result;
        CHECK(strcmp(text, "enforce") != 0 && strstr(text, "mode=enforce") == NULL && strstr(text, "enforce=yes") == NULL);
        CHECK(strchr(text, '\xff') == NULL);
        argv[0] = domain;
    }
    for (int i = 0; i < arguments; i++) {
        unsigned char *bad[] = {NULL, (unsigned char *)endless};
        for (size_t j = 0; j < sizeof bad / sizeof *bad; j++) {
            argv[i] = bad[j];
            defers(function, arguments, argv);
        }
        argv[i] = domain;
    }
    if (arguments > 0)
        defers(function, arguments, NULL);
}

static void exim(exim_function *function, int arguments) { exim_of(function, arguments, arguments); }

static void exim_lookup(void) { exim_of(mtasts_exim_lookup, 1, 2); }
static void exim_mode(void) { exim(mtasts_exim_mode, 1); }
static void exim_recheck(void) { exim(mtasts_exim_recheck, 1); }
static void exim_check_mx(void) { exim(mtasts_exim_check_mx, 2); }
static void exim_event(void) { exim(mtasts_exim_event, 7); }
static void exim_version(void) { exim(mtasts_exim_version, 0); }
