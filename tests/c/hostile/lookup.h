/* ---- lookups ---- */

static mtasts_answer *const nobody = (mtasts_answer *)-1;

static void lookup(void) {
    mtasts_answer *out = nobody;
    ANSWERS_BAD_NAMES(mtasts_lookup(context, name, length, 0, &out, error), cannot_have_a_policy(out); out = nobody);
    FAILS(MTASTS_E_ARGUMENT, mtasts_lookup(NULL, "enforced.example", MTASTS_NUL_TERMINATED, 0, &out, error));
    CHECK(out == nobody);
    FAILS(MTASTS_E_ARGUMENT, mtasts_lookup(context, "enforced.example", MTASTS_NUL_TERMINATED, 0, NULL, error));
    FAILS(MTASTS_E_ARGUMENT, mtasts_lookup(NULL, NULL, SIZE_MAX - 1, UINT32_MAX, NULL, error));
    GIVES(MTASTS_OK, mtasts_lookup(context, "enforced.example", MTASTS_NUL_TERMINATED, UINT32_MAX, &out, NULL));
    mtasts_answer_free(out);
    /* A length that ends before the text does; and no NUL behind it. */
    GIVES(MTASTS_OK, mtasts_lookup(context, "enforced.example/..", 16, 1, &out, NULL));
    mtasts_answer_free(out);
}

static void lookup_cached(void) {
    mtasts_answer *out = nobody;
    ANSWERS_BAD_NAMES(mtasts_lookup_cached(context, name, length, &out, error), cannot_have_a_policy(out); out = nobody);
    FAILS(MTASTS_E_ARGUMENT, mtasts_lookup_cached(NULL, "enforced.example", MTASTS_NUL_TERMINATED, &out, error));
    CHECK(out == nobody);
    FAILS(MTASTS_E_ARGUMENT, mtasts_lookup_cached(context, "enforced.example", MTASTS_NUL_TERMINATED, NULL, error));
    FAILS(MTASTS_E_ARGUMENT, mtasts_lookup_cached(NULL, NULL, SIZE_MAX - 1, NULL, error));
}

static void recheck(void) {
    mtasts_answer *out = nobody;
    ANSWERS_BAD_NAMES(mtasts_recheck(context, name, length, 0, &out, error), cannot_have_a_policy(out); out = nobody);
    FAILS(MTASTS_E_ARGUMENT, mtasts_recheck(NULL, "enforced.example", MTASTS_NUL_TERMINATED, 0, &out, error));
    CHECK(out == nobody);
    FAILS(MTASTS_E_ARGUMENT, mtasts_recheck(context, "enforced.example", MTASTS_NUL_TERMINATED, 0, NULL, error));
    FAILS(MTASTS_E_ARGUMENT, mtasts_recheck(NULL, NULL, SIZE_MAX - 1, UINT32_MAX, NULL, error));
}

/* ---- the cache ---- */

static void listing_new(void) {
    mtasts_listing *const none = (mtasts_listing *)-1;
    mtasts_listing *out = none;
    FAILS(MTASTS_E_ARGUMENT, mtasts_listing_new(NULL, &out, error));
    CHECK(out == none);
    FAILS(MTASTS_E_ARGUMENT, mtasts_listing_new(context, NULL, error));
    FAILS(MTASTS_E_ARGUMENT, mtasts_listing_new(NULL, NULL, error));
    GIVES(MTASTS_OK, mtasts_listing_new(context, &out, NULL));
    const char *domain = mtasts_listing_next(out);
    CHECK(domain && strcmp(domain, "enforced.example") == 0);
    while (mtasts_listing_next(out)) {
    }
    CHECK(mtasts_listing_next(out) == NULL);
    mtasts_listing_free(out);
}

static void listing_next(void) { CHECK(mtasts_listing_next(NULL) == NULL); }

static void listing_free(void) { mtasts_listing_free(NULL); }

static void purge(void) {
    REFUSES_BAD_NAMES(mtasts_purge(context, name, length, error));
    FAILS(MTASTS_E_ARGUMENT, mtasts_purge(NULL, "enforced.example", MTASTS_NUL_TERMINATED, error));
    FAILS(MTASTS_E_ARGUMENT, mtasts_purge(NULL, NULL, SIZE_MAX - 1, error));
    GIVES(0, mtasts_purge(context, "unknown.example", MTASTS_NUL_TERMINATED, NULL));
}

static void context_new(void) {
    mtasts_context *out = (mtasts_context *)-1;
    FAILS(MTASTS_E_ARGUMENT, mtasts_context_new(NULL, NULL, error));
    GIVES(MTASTS_OK, mtasts_context_new(NULL, &out, NULL));
    mtasts_context_free(out);
}

static void context_free(void) { mtasts_context_free(NULL); }

static void context_ca_file(void) {
    mtasts_settings *settings = NULL;
    mtasts_context *out = NULL;
    CHECK(mtasts_context_ca_file(NULL) == NULL);
    GIVES(MTASTS_OK, mtasts_settings_new(&settings));
    GIVES(MTASTS_OK, mtasts_context_new(settings, &out, NULL));
    CHECK(mtasts_context_ca_file(out) == NULL);
    mtasts_context_free(out);
    GIVES(MTASTS_OK, mtasts_settings_set(settings, "ca_file", "/nowhere/r\xc3\xb6\xc3\xb6ts", NULL));
    GIVES(MTASTS_OK, mtasts_context_new(settings, &out, NULL));
    mtasts_settings_free(settings);
    CHECK(strcmp(mtasts_context_ca_file(out), "/nowhere/r\xc3\xb6\xc3\xb6ts") == 0);
    mtasts_context_free(out);
}

static void context_nameservers(void) {
    mtasts_settings *settings = NULL;
    mtasts_context *out = NULL;
    CHECK(mtasts_context_nameservers(NULL) == NULL);
    GIVES(MTASTS_OK, mtasts_settings_new(&settings));
    GIVES(MTASTS_OK, mtasts_context_new(settings, &out, NULL));
    CHECK(mtasts_context_nameservers(out) == NULL);
    mtasts_context_free(out);
    GIVES(MTASTS_OK, mtasts_settings_set(settings, "nameservers", "192.0.2.1, [2001:db8::1]:5353", NULL));
    GIVES(MTASTS_OK, mtasts_context_new(settings, &out, NULL));
    mtasts_settings_free(settings);
    CHECK(strcmp(mtasts_context_nameservers(out), "192.0.2.1:53 [2001:db8::1]:5353") == 0);
    mtasts_context_free(out);
}
