/* ---- settings ---- */

static void settings_new(void) { GIVES(MTASTS_E_ARGUMENT, mtasts_settings_new(NULL)); }

static void settings_of_host(void) {
    mtasts_settings *const nothing = (mtasts_settings *)-1;
    mtasts_settings *out = nothing;
    FAILS(MTASTS_E_ARGUMENT, mtasts_settings_of_host(NULL, error));
    if (geteuid() == 0)
        return;
    setenv("MTASTS_CONFIG", "/nowhere/\xff\x01", 1);
    FAILS(MTASTS_E_SETTINGS, mtasts_settings_of_host(&out, error));
    CHECK(out == nothing);
    unsetenv("MTASTS_CONFIG");
}

static void settings_set(void) {
    static const char *const bad[][2] = {
        {"", ""},
        {"no_such_setting", "1"},
        {"cache_dir", "relative"},
        {"ca_file", ""},
        {"timeout", "0"},
        {"timeout", "-1"},
        {"timeout", "99999999999999999999"},
        {"timeout", ""},
        {"nameservers", "dns.example"},
        {"nameservers", "\x01\x1b[31m"},
        {"allow_addresses", "0.0.0.0/33"},
        {"nat64_prefixes", "64:ff9b::/95"},
        {"first_contact_defer", "\xc3\xa9"},
        {"txt_life_min", "1 h"},
        {"txt_life_max", "d"},
        {"Timeout", "30s"},
        {"\x1b[31m", "1"},
    };
    mtasts_settings *settings = NULL;
    GIVES(MTASTS_OK, mtasts_settings_new(&settings));
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        FAILS(MTASTS_E_SETTINGS, mtasts_settings_set(settings, bad[i][0], bad[i][1], error));
    FAILS(MTASTS_E_ARGUMENT, mtasts_settings_set(NULL, "timeout", "30s", error));
    FAILS(MTASTS_E_ARGUMENT, mtasts_settings_set(settings, NULL, "30s", error));
    FAILS(MTASTS_E_ARGUMENT, mtasts_settings_set(settings, "timeout", NULL, error));
    FAILS(MTASTS_E_ARGUMENT, mtasts_settings_set(settings, endless, "30s", error));
    FAILS(MTASTS_E_ARGUMENT, mtasts_settings_set(settings, "timeout", endless, error));
    FAILS(MTASTS_E_ARGUMENT, mtasts_settings_set(settings, "\xff", "30s", error));
    FAILS(MTASTS_E_ARGUMENT, mtasts_settings_set(settings, "timeout", "\xff", error));
    FAILS(MTASTS_E_ARGUMENT, mtasts_settings_set(NULL, NULL, NULL, error));
    mtasts_settings_free(settings);
}

static void settings_read_file(void) {
    static const char *const bad[] = {"", "/nowhere/mtasts.toml", "/", "/etc/passwd", "/dev/null/x", "\x01\x1b[31m"};
    mtasts_settings *settings = NULL;
    GIVES(MTASTS_OK, mtasts_settings_new(&settings));
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        FAILS(MTASTS_E_SETTINGS, mtasts_settings_read_file(settings, bad[i], error));
    FAILS(MTASTS_E_ARGUMENT, mtasts_settings_read_file(NULL, "/etc/passwd", error));
    FAILS(MTASTS_E_ARGUMENT, mtasts_settings_read_file(settings, NULL, error));
    FAILS(MTASTS_E_ARGUMENT, mtasts_settings_read_file(settings, endless, error));
    FAILS(MTASTS_E_ARGUMENT, mtasts_settings_read_file(settings, "/\xff", error));
    mtasts_settings_free(settings);
}

static void say_nothing(const char *line, void *user) {
    (void)line;
    (void)user;
}

static void settings_set_log(void) {
    mtasts_settings *settings = NULL;
    GIVES(MTASTS_E_ARGUMENT, mtasts_settings_set_log(NULL, NULL, NULL));
    GIVES(MTASTS_E_ARGUMENT, mtasts_settings_set_log(NULL, say_nothing, NULL));
    GIVES(MTASTS_OK, mtasts_settings_new(&settings));
    GIVES(MTASTS_OK, mtasts_settings_set_log(settings, say_nothing, NULL));
    GIVES(MTASTS_OK, mtasts_settings_set_log(settings, NULL, (void *)1));
    mtasts_settings_free(settings);
}

static void settings_free(void) { mtasts_settings_free(NULL); }
