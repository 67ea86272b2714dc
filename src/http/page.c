/*
 * The assembler includes the files, so they need no tool at build time. It looks for them in the
 * folder that make runs in. The make rule of this object depends on them.
 */
#include "http/page.h"

/* With link-time optimisation, the code may be in another unit, so the symbols are global. */
#define PAGE_INCLUDE(name, file)                                              \
    __asm__(".pushsection .rodata.page_" #name ", \"a\"\n"                    \
            ".global page_" #name "\n"                                        \
            ".hidden page_" #name "\n"                                        \
            "page_" #name ":\n"                                               \
            ".incbin \"src/http/page/" file "\"\n"                            \
            ".global page_" #name "_end\n"                                    \
            ".hidden page_" #name "_end\n"                                    \
            "page_" #name "_end:\n"                                           \
            ".popsection\n");                                                 \
    extern const uint8_t page_##name[] __attribute__((visibility("hidden"))); \
    extern const uint8_t page_##name##_end[] __attribute__((visibility("hidden")))

PAGE_INCLUDE(index, "index.html");
PAGE_INCLUDE(script, "app.js");
PAGE_INCLUDE(style, "style.css");
PAGE_INCLUDE(icon, "icon.svg");

bool page_find(enum route_endpoint endpoint, struct page_file *file)
{
    static const struct {
        const char *type;
        const uint8_t *bytes;
        const uint8_t *end;
    } files[ROUTE_ENDPOINTS] = {
        [ROUTE_PAGE] = {"text/html; charset=utf-8", page_index, page_index_end},
        [ROUTE_PAGE_SCRIPT] = {"text/javascript; charset=utf-8", page_script, page_script_end},
        [ROUTE_PAGE_STYLE] = {"text/css; charset=utf-8", page_style, page_style_end},
        [ROUTE_PAGE_ICON] = {"image/svg+xml", page_icon, page_icon_end},
    };

    if (endpoint >= ROUTE_ENDPOINTS || files[endpoint].type == NULL)
        return false;
    file->type = files[endpoint].type;
    file->bytes = files[endpoint].bytes;
    file->length = (size_t)(files[endpoint].end - files[endpoint].bytes);
    return true;
}
