// SPDX-License-Identifier: BSL-1.0
// Uses of the class, as they were. `USES: text` is what is told of the line.
#include "store.hpp"

#include <iostream>
#include <memory>

void print(app::store& s) {  // USES: `store_on_pool&`, in a coroutine
    std::cout << s.get("a").number;  // USES: `co_await object.get(...)`
}

int main() {
    app::store s{7};  // USES: coraii::enter(open_store(pool, ...))
    s.open("path");  // USES: open_store does it
    s.put("a", app::store::row{1});  // USES: `co_await object.put(...)`
    std::cout << s.size();
    print(s);
    s.close();  // USES: the scope closes it
    auto other = std::make_unique<app::store>();  // USES: coraii::enter(open_store(pool, ...))
}
