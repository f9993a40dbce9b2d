/* ---- certificates ---- */

static mtasts_check blank_check(size_t size) {
    mtasts_check check;
    memset(&check, 0x5a, sizeof check);
    check.size = size;
    return check;
}

static void check_untouched(const mtasts_check *check, size_t size) {
    mtasts_check blank = blank_check(size);
    CHECK(memcmp(check, &blank, sizeof blank) == 0);
}

static const size_t wrong_check_sizes[] = {0, 1, sizeof(mtasts_check) - 1, 8193, SIZE_MAX};

static void verify_certificate(void) {
    static const uint8_t junk[] = {0x30, 0x84, 0xff, 0xff, 0xff, 0xff, 0x30};
    const char *host = "mx.enforced.example";
    mtasts_octets chain[] = {{junk, sizeof junk}, {(const uint8_t *)endless, MANY}, {junk, 0}};
    mtasts_octets none[] = {{NULL, 0}};
    mtasts_octets long_none[] = {{NULL, SIZE_MAX}};
    mtasts_octets too_long[] = {{junk, SIZE_MAX}};
    mtasts_octets longer[] = {{junk, SIZE_MAX / 2 + 1}};
    mtasts_check out = blank_check(sizeof out);
    const size_t nul = MTASTS_NUL_TERMINATED;

    REFUSES_BAD_NAMES(mtasts_verify_certificate(context, name, length, chain, 1, 0, &out, error));
    FAILS(MTASTS_E_ARGUMENT, mtasts_verify_certificate(NULL, host, nul, chain, 1, 0, &out, error));
    FAILS(MTASTS_E_ARGUMENT, mtasts_verify_certificate(context, host, nul, NULL, 1, 0, &out, error));
    FAILS(MTASTS_E_ARGUMENT, mtasts_verify_certificate(context, host, nul, NULL, SIZE_MAX, 0, &out, error));
    FAILS(MTASTS_E_ARGUMENT, mtasts_verify_certificate(context, host, nul, chain, SIZE_MAX, 0, &out, error));
    FAILS(MTASTS_E_ARGUMENT, mtasts_verify_certificate(context, host, nul, chain, 10001, 0, &out, error));
    FAILS(MTASTS_E_ARGUMENT, mtasts_verify_certificate(context, host, nul, none, 1, 0, &out, error));
    FAILS(MTASTS_E_ARGUMENT, mtasts_verify_certificate(context, host, nul, long_none, 1, 0, &out, error));
    FAILS(MTASTS_E_ARGUMENT, mtasts_verify_certificate(context, host, nul, too_long, 1, 0, &out, error));
    FAILS(MTASTS_E_ARGUMENT, mtasts_verify_certificate(context, host, nul, longer, 1, 0, &out, error));
    FAILS(MTASTS_E_ARGUMENT, mtasts_verify_certificate(context, host, nul, chain, 1, 0, NULL, error));
    check_untouched(&out, sizeof out);
    for (size_t i = 0; i < sizeof wrong_check_sizes / sizeof *wrong_check_sizes; i++) {
        out = blank_check(wrong_check_sizes[i]);
        FAILS(MTASTS_E_ARGUMENT, mtasts_verify_certificate(context, host, nul, chain, 1, 0, &out, error));
        check_untouched(&out, wrong_check_sizes[i]);
    }
    /* Rubbish of any size, at any time, is a bad certificate and no error. */
    const uint64_t times[] = {0, 1, UINT64_MAX / 2, UINT64_MAX};
    for (size_t i = 0; i < sizeof times / sizeof *times; i++) {
        for (size_t count = 0; count <= 3; count++) {
            out = blank_check(sizeof out);
            GIVES(MTASTS_OK, mtasts_verify_certificate(context, host, nul, chain, count, times[i], &out, NULL));
            CHECK(mtasts_result_name(out.result) != NULL && out.reason[0]);
            CHECK(memchr(out.reason, 0, sizeof out.reason) != NULL);
        }
    }
    GIVES(MTASTS_OK, mtasts_verify_certificate(context, host, nul, NULL, 0, 0, &out, NULL));
    CHECK(out.result != 0);
}

static void check_name(void) {
    const uint8_t junk[] = {0x30, 0x82, 0xff, 0xff, 0x00};
    const char *host = "mx.enforced.example";
    mtasts_octets leaf = {junk, sizeof junk}, empty = {junk, 0}, none = {NULL, 0}, too_long = {junk, SIZE_MAX};
    mtasts_check out = blank_check(sizeof out);
    const size_t nul = MTASTS_NUL_TERMINATED;

    REFUSES_BAD_NAMES(mtasts_check_name(name, length, &leaf, &out, error));
    FAILS(MTASTS_E_ARGUMENT, mtasts_check_name(host, nul, NULL, &out, error));
    FAILS(MTASTS_E_ARGUMENT, mtasts_check_name(host, nul, &none, &out, error));
    FAILS(MTASTS_E_ARGUMENT, mtasts_check_name(host, nul, &too_long, &out, error));
    FAILS(MTASTS_E_ARGUMENT, mtasts_check_name(host, nul, &leaf, NULL, error));
    check_untouched(&out, sizeof out);
    for (size_t i = 0; i < sizeof wrong_check_sizes / sizeof *wrong_check_sizes; i++) {
        out = blank_check(wrong_check_sizes[i]);
        FAILS(MTASTS_E_ARGUMENT, mtasts_check_name(host, nul, &leaf, &out, error));
        check_untouched(&out, wrong_check_sizes[i]);
    }
    /* Rubbish is a bad certificate and no error. */
    const mtasts_octets *const rubbish[] = {&leaf, &empty};
    for (size_t i = 0; i < 2; i++) {
        out = blank_check(sizeof out);
        GIVES(MTASTS_OK, mtasts_check_name(host, nul, rubbish[i], &out, NULL));
        CHECK(mtasts_result_name(out.result) != NULL && out.reason[0]);
    }
}

static void check_address(void) {
    static const char *const none[] = {"", "127.0.0.1 ", "[::1]", "fe80::1%eth0", "010.0.0.1", "localhost", "1.2.3.4\n",
                                       "\x1b[31m"};
    static const char *const refused[] = {"127.0.0.1", "::1", "::ffff:10.0.0.1", "0.0.0.0", "169.254.169.254", "2001:1::1"};
    static const char *const good[] = {"8.8.8.8", "2600::1", "64:ff9b::808:808"};
    const size_t nul = MTASTS_NUL_TERMINATED;

    FAILS(MTASTS_E_ARGUMENT, mtasts_check_address(NULL, "8.8.8.8", nul, error));
    FAILS(MTASTS_E_ARGUMENT, mtasts_check_address(context, NULL, nul, error));
    FAILS(MTASTS_E_ARGUMENT, mtasts_check_address(context, "8.8.8.8", 100000, error));
    for (size_t i = 0; i < sizeof none / sizeof *none; i++)
        FAILS(MTASTS_E_ARGUMENT, mtasts_check_address(context, none[i], nul, error));
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++)
        FAILS(MTASTS_E_REFUSED, mtasts_check_address(context, refused[i], nul, error));
    for (size_t i = 0; i < sizeof good / sizeof *good; i++)
        GIVES(MTASTS_OK, mtasts_check_address(context, good[i], nul, NULL));
    GIVES(MTASTS_OK, mtasts_check_address(context, "8.8.8.8 and more", 7, NULL));

    mtasts_settings *settings = NULL;
    mtasts_context *lenient = NULL;
    GIVES(MTASTS_OK, mtasts_settings_new(&settings));
    GIVES(MTASTS_OK, mtasts_settings_set(settings, "allow_addresses", "10.1.0.0/16", NULL));
    GIVES(MTASTS_OK, mtasts_settings_set(settings, "nat64_prefixes", "2a00:64::/96", NULL));
    GIVES(MTASTS_OK, mtasts_context_new(settings, &lenient, NULL));
    GIVES(MTASTS_OK, mtasts_check_address(lenient, "10.1.2.3", nul, NULL));
    FAILS(MTASTS_E_REFUSED, mtasts_check_address(lenient, "10.2.0.1", nul, error));
    FAILS(MTASTS_E_REFUSED, mtasts_check_address(lenient, "2a00:64::10.2.0.1", nul, error));
    mtasts_context_free(lenient);
    mtasts_settings_free(settings);
}

static void from_openssl(void) {
    const int64_t codes[] = {INT64_MIN, -1, 0, 10, 62, 9999, INT64_MAX};
    mtasts_check out = blank_check(sizeof out);
    GIVES(MTASTS_E_ARGUMENT, mtasts_from_openssl(0, NULL));
    for (size_t i = 0; i < sizeof codes / sizeof *codes; i++) {
        GIVES(MTASTS_OK, mtasts_from_openssl(codes[i], &out));
        CHECK((out.result == 0) == (codes[i] == 0));
        CHECK(out.result == 0 || mtasts_result_name(out.result) != NULL);
    }
    for (size_t i = 0; i < sizeof wrong_check_sizes / sizeof *wrong_check_sizes; i++) {
        out = blank_check(wrong_check_sizes[i]);
        GIVES(MTASTS_E_ARGUMENT, mtasts_from_openssl(10, &out));
        check_untouched(&out, wrong_check_sizes[i]);
    }
}

static void from_gnutls(void) {
    mtasts_check out = blank_check(sizeof out);
    GIVES(MTASTS_E_ARGUMENT, mtasts_from_gnutls(0, NULL));
    for (uint32_t bit = 0; bit < 32; bit++) {
        GIVES(MTASTS_OK, mtasts_from_gnutls((uint32_t)1 << bit, &out));
        CHECK(mtasts_result_name(out.result) != NULL);
    }
    GIVES(MTASTS_OK, mtasts_from_gnutls(UINT32_MAX, &out));
    CHECK(mtasts_result_name(out.result) != NULL);
    GIVES(MTASTS_OK, mtasts_from_gnutls(0, &out));
    CHECK(out.result == 0);
    for (size_t i = 0; i < sizeof wrong_check_sizes / sizeof *wrong_check_sizes; i++) {
        out = blank_check(wrong_check_sizes[i]);
        GIVES(MTASTS_E_ARGUMENT, mtasts_from_gnutls(2, &out));
        check_untouched(&out, wrong_check_sizes[i]);
    }
}

static void from_node(void) {
    const char *const codes[] = {"", "CERT_HAS_EXPIRED", "cert_has_expired", "no such code", "\x01\x1b[31m\n"};
    mtasts_check out = blank_check(sizeof out);
    GIVES(MTASTS_E_ARGUMENT, mtasts_from_node(NULL, &out));
    GIVES(MTASTS_E_ARGUMENT, mtasts_from_node("CERT_HAS_EXPIRED", NULL));
    GIVES(MTASTS_E_ARGUMENT, mtasts_from_node(NULL, NULL));
    GIVES(MTASTS_E_ARGUMENT, mtasts_from_node("\xff", &out));
    GIVES(MTASTS_E_ARGUMENT, mtasts_from_node(endless, &out));
    check_untouched(&out, sizeof out);
    for (size_t i = 0; i < sizeof codes / sizeof *codes; i++) {
        GIVES(MTASTS_OK, mtasts_from_node(codes[i], &out));
        CHECK(mtasts_result_name(out.result) != NULL);
        for (const char *c = out.reason; *c; c++)
            CHECK((unsigned char)*c >= 0x20 && *c != 0x7f);
    }
    for (size_t i = 0; i < sizeof wrong_check_sizes / sizeof *wrong_check_sizes; i++) {
        out = blank_check(wrong_check_sizes[i]);
        GIVES(MTASTS_E_ARGUMENT, mtasts_from_node("CERT_HAS_EXPIRED", &out));
        check_untouched(&out, wrong_check_sizes[i]);
    }
}
