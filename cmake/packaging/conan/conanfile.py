# SPDX-License-Identifier: BSL-1.0
# A recipe for Conan 2 of the source tree that it lies in: conan create cmake/packaging/conan --build=missing
import os
import re

from conan import ConanFile
from conan.tools.build import check_min_cppstd
from conan.tools.cmake import CMake, CMakeDeps, CMakeToolchain, cmake_layout
from conan.tools.files import copy, load, rmdir

required_conan_version = ">=2.0"


class CoraiiConan(ConanFile):
    name = "coraii"
    description = "Coroutine RAII for Boost.Asio: asynchronous setup and cleanup on every way out"
    license = "BSL-1.0"
    topics = ("asio", "coroutines", "raii", "header-only")
    package_type = "header-library"
    settings = "os", "arch", "compiler", "build_type"
    options = {"with_sqlite": [True, False], "with_postgres": [True, False]}
    default_options = {"with_sqlite": False, "with_postgres": False}

    def _tree(self):
        return os.path.join(self.recipe_folder, "..", "..", "..")

    def set_version(self):
        header = load(self, os.path.join(self._tree(), "include", "coraii", "version.hpp"))
        parts = (re.search(rf"#define CORAII_VERSION_{part} (\d+)", header) for part in ("MAJOR", "MINOR", "PATCH"))
        self.version = ".".join(part.group(1) for part in parts)

    def export_sources(self):
        for pattern in ("CMakeLists.txt", "LICENSE", "cmake/*", "include/*"):
            copy(self, pattern, self._tree(), self.export_sources_folder)

    def requirements(self):
        self.requires("boost/[>=1.83 <2]", transitive_headers=True)
        if self.options.with_sqlite:
            self.requires("sqlite3/[>=3.40 <4]", transitive_headers=True)
        if self.options.with_postgres:
            self.requires("libpq/[>=15]", transitive_headers=True)

    def validate(self):
        check_min_cppstd(self, 20)

    def layout(self):
        cmake_layout(self)

    def generate(self):
        toolchain = CMakeToolchain(self)
        toolchain.cache_variables["CORAII_BUILD_TESTS"] = False
        toolchain.cache_variables["CORAII_BUILD_EXAMPLES"] = False
        toolchain.generate()
        CMakeDeps(self).generate()

    def build(self):
        CMake(self).configure()

    def package(self):
        CMake(self).install()
        copy(self, "LICENSE", self.source_folder, os.path.join(self.package_folder, "licenses"))
        rmdir(self, os.path.join(self.package_folder, "share"))  # Conan makes these files itself

    def package_id(self):
        self.info.clear()

    def package_info(self):
        self.cpp_info.bindirs = []
        self.cpp_info.libdirs = []
        self._component("coraii", ["boost::headers"])
        if self.settings.os != "Windows":
            self._component("file", ["coraii"])
        if self.options.with_sqlite:
            self._component("sqlite", ["coraii", "sqlite3::sqlite3"])
        if self.options.with_postgres:
            self._component("postgres", ["coraii", "libpq::libpq"])

    def _component(self, name, requires):
        component = self.cpp_info.components[name]
        component.set_property("cmake_target_name", f"coraii::{name}")
        component.requires = requires
        component.bindirs = []
        component.libdirs = []
        if self.settings.os == "Linux":
            component.system_libs = ["pthread"]
        elif self.settings.os == "Windows":
            component.system_libs = ["ws2_32", "mswsock"]
