# Included by llama.cpp's own CMakeLists (CMAKE_PROJECT_llama.cpp_INCLUDE). llama-cpp-python forces
# the `common` library on for its multimodal one; llmd loads neither, and they are more than half of
# all that is compiled. A normal variable hides the forced cache entry.
set(LLAMA_BUILD_COMMON OFF)
