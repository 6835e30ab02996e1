/* Chains of compression blocks: refused ones first, then each algorithm and mixtures. */
#include "../../daemon/codec/codec.h"

#include <criterion/criterion.h>
#include <libdeflate.h>
#include <lz4.h>
#include <lzma.h>
#include <string.h>
#include <xxhash.h>
#include <zstd.h>

#define N_RAW 5000u
#define N_PACKED 8000u

static uint8_t raw[N_RAW], unpacked[4 * N_RAW + 1], packed[4 * N_PACKED];
static char error[CODEC_ERROR_BYTES];
static struct codec *codec;

static void setup(void) {
    for (unsigned i = 0; i < N_RAW; i++)
        raw[i] = (uint8_t)(i * i / 7);
    memset(unpacked, 0xee, sizeof(unpacked));
    error[0] = '\0';
    cr_assert_eq(codec_new(&codec), 0);
}

static void teardown(void) {
    codec = codec_free(codec);
}

TestSuite(codec, .init = setup, .fini = teardown);

static size_t put_header(uint8_t *p, const char *tag, uint8_t method, size_t n_packed,
                         size_t n_raw) {
    memcpy(p, tag, 2);
    p[2] = method;
    for (int i = 0; i < 3; i++) {
        p[3 + i] = (uint8_t)(n_packed >> 8 * i);
        p[6 + i] = (uint8_t)(n_raw >> 8 * i);
    }
    return 9 + n_packed;
}

static size_t put_zlib(uint8_t *p) {
    struct libdeflate_compressor *c = libdeflate_alloc_compressor(6);
    size_t n = libdeflate_zlib_compress(c, raw, N_RAW, p + 9, N_PACKED);
    libdeflate_free_compressor(c);
    return put_header(p, "ZL", 8, n, N_RAW);
}

static size_t put_zstd(uint8_t *p) {
    return put_header(p, "ZS", 1, ZSTD_compress(p + 9, N_PACKED, raw, N_RAW, 3), N_RAW);
}

static size_t put_lz4(uint8_t *p) {
    int n = LZ4_compress_default((char *)raw, (char *)p + 17, N_RAW, N_PACKED);
    XXH64_canonicalFromHash((XXH64_canonical_t *)(p + 9), XXH64(p + 17, (size_t)n, 0));
    return put_header(p, "L4", 1, (size_t)n + 8, N_RAW);
}

static size_t put_lzma(uint8_t *p) {
    size_t n = 0;
    lzma_easy_buffer_encode(6, LZMA_CHECK_CRC32, NULL, raw, N_RAW, p + 9, &n, N_PACKED);
    return put_header(p, "XZ", 0, n, N_RAW);
}

static size_t (*const writers[])(uint8_t *) = {put_zlib, put_zstd, put_lz4, put_lzma};

static int unpack(size_t n_raw, size_t n_packed) {
    return codec_unpack(codec, unpacked, n_raw, packed, n_packed, error);
}

Test(codec, refuses_what_is_no_block) {
    put_header(packed, "??", 1, 10, 10);
    cr_assert_eq(unpack(10, 19), CODEC_E_CORRUPT);
    cr_assert(strstr(error, "at byte 0"), "%s", error);
    put_header(packed, "ZL", 7, 10, 10);
    cr_assert_eq(unpack(10, 19), CODEC_E_CORRUPT);
    cr_assert_eq(unpack(10, 8), CODEC_E_CORRUPT);
    cr_assert_eq(unpack(10, 0), CODEC_E_CORRUPT);
}

Test(codec, refuses_old_deflate_by_name) {
    put_header(packed, "CS", 8, 10, 10);
    cr_assert_eq(unpack(10, 19), CODEC_E_UNSUPPORTED);
    cr_assert(strstr(error, "CS"));
}

Test(codec, refuses_sizes_that_do_not_add_up) {
    size_t n = put_zlib(packed);
    cr_assert_eq(unpack(N_RAW - 1, n), CODEC_E_CORRUPT);
    cr_assert_eq(unpack(N_RAW + 1, n), CODEC_E_CORRUPT);
    cr_assert_eq(unpack(N_RAW, n + 1), CODEC_E_CORRUPT);
    cr_assert_eq(unpack(N_RAW, n - 1), CODEC_E_CORRUPT);
    cr_assert_eq(unpacked[0], 0xee, "nothing is unpacked before the chain is known to be whole");
}

Test(codec, refuses_a_block_that_claims_another_length) {
    for (unsigned i = 0; i < ARRAY_LEN(writers); i++) {
        size_t n = writers[i](packed) - 9;
        error[0] = '\0';
        char tag[2] = {(char)packed[0], (char)packed[1]};
        put_header(packed, tag, packed[2], n, N_RAW - 1);
        cr_assert_eq(unpack(N_RAW - 1, n + 9), CODEC_E_CORRUPT, "%.2s too small", tag);
        put_header(packed, tag, packed[2], n, N_RAW + 1);
        cr_assert_eq(unpack(N_RAW + 1, n + 9), CODEC_E_CORRUPT, "%.2s too large", tag);
        cr_assert(error[0]);
    }
}

Test(codec, refuses_an_empty_block_that_would_never_end) {
    put_header(packed, "ZS", 1, 0, 0);
    cr_assert_eq(unpack(10, 9), CODEC_E_CORRUPT);
}

Test(codec, every_damaged_byte_is_seen_or_harmless) {
    for (unsigned w = 0; w < ARRAY_LEN(writers); w++) {
        size_t n = writers[w](packed);
        for (size_t i = 0; i < n; i += 1 + i / 200) {
            packed[i] ^= 0x55;
            int r = unpack(N_RAW, n);
            cr_assert(r > 0 || w == 1 || memcmp(raw, unpacked, N_RAW) == 0, "writer %u byte %zu", w,
                      i);
            packed[i] ^= 0x55;
        }
        cr_assert_eq(unpack(N_RAW, n), 0, "an error spoils no later block");
    }
}

Test(codec, a_dictionary_is_bounded) {
    lzma_options_lzma options;
    lzma_lzma_preset(&options, 6);
    lzma_filter filters[] = {{LZMA_FILTER_LZMA2, &options}, {LZMA_VLI_UNKNOWN, NULL}};
    /* An encoder for 2 GiB would want the memory: the header is patched, its checksum too. */
    size_t n = 0;
    cr_assert_eq(lzma_stream_buffer_encode(filters, LZMA_CHECK_NONE, NULL, raw, N_RAW, packed + 9,
                                           &n, N_PACKED),
                 LZMA_OK);
    uint8_t *block =
        packed + 9 + 12; /* after the stream header: size, flags, filter, 1, dictionary */
    size_t n_block = (block[0] + 1u) * 4;
    for (uint8_t *p = block + 2; p < block + n_block - 4; p++)
        if (p[0] == 0x21 && p[1] == 1)
            p[2] = 36; /* 2 GiB */
    uint32_t crc = lzma_crc32(block, n_block - 4, 0);
    for (int i = 0; i < 4; i++)
        block[n_block - 4 + (size_t)i] = (uint8_t)(crc >> 8 * i);
    put_header(packed, "XZ", 0, n, N_RAW);
    cr_assert_eq(unpack(N_RAW, n + 9), CODEC_E_CORRUPT);
    cr_assert(strstr(error, "dictionary"), "%s", error);
}

Test(codec, unpacks_each_algorithm) {
    for (unsigned i = 0; i < ARRAY_LEN(writers); i++) {
        size_t n = writers[i](packed);
        for (int again = 0; again < 3; again++) {
            memset(unpacked, 0xee, sizeof(unpacked));
            cr_assert_eq(unpack(N_RAW, n), 0, "%s", error);
            cr_assert_arr_eq(unpacked, raw, N_RAW);
            cr_assert_eq(unpacked[N_RAW], 0xee);
        }
    }
}

Test(codec, unpacks_a_chain_of_all) {
    size_t n = 0;
    for (unsigned i = 0; i < ARRAY_LEN(writers); i++)
        n += writers[i](packed + n);
    cr_assert_eq(unpack(4 * N_RAW, n), 0, "%s", error);
    for (unsigned i = 0; i < ARRAY_LEN(writers); i++)
        cr_assert_arr_eq(unpacked + i * N_RAW, raw, N_RAW);
    cr_assert_eq(unpacked[4 * N_RAW], 0xee);
}

Test(codec, nothing_makes_nothing) {
    cr_assert_eq(unpack(0, 0), 0);
    cr_assert_eq(unpack(0, 1), CODEC_E_CORRUPT);
    cr_assert_eq(codec_unpack(codec, unpacked, 1, packed, 0, NULL), CODEC_E_CORRUPT);
}

Test(codec, names_its_libraries) {
    char text[64];
    unsigned n = 0;
    while (codec_version(n, text, sizeof(text)))
        n++;
    cr_assert_eq(n, 4);
    cr_assert(codec_version(0, text, sizeof(text)));
    cr_assert(strstr(text, "libdeflate"));
    cr_assert_null(codec_free(NULL));
}
