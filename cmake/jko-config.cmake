# CMake package of jko: targets jko::jko, jko::estimators, jko::analysis, jko::validation.
include(CMakeFindDependencyMacro)
find_dependency(Eigen3)
# This file lies in PREFIX/LIBDIR/cmake/jko; include/ is in PREFIX, the libraries in PREFIX/LIBDIR.
get_filename_component(_jko_libdir "${CMAKE_CURRENT_LIST_DIR}/../.." ABSOLUTE)
find_path(_jko_include jko/core/types.hpp HINTS "${_jko_libdir}/../include" "${_jko_libdir}/../../include" NO_DEFAULT_PATH REQUIRED)
function(_jko_target name file)
  add_library(jko::${name} UNKNOWN IMPORTED)
  find_library(_jko_${name}_library ${file} HINTS "${_jko_libdir}" NO_DEFAULT_PATH REQUIRED)
  set_target_properties(jko::${name} PROPERTIES
    IMPORTED_LOCATION "${_jko_${name}_library}"
    INTERFACE_INCLUDE_DIRECTORIES "${_jko_include}"
    INTERFACE_COMPILE_FEATURES cxx_std_20
    INTERFACE_COMPILE_DEFINITIONS EIGEN_MAX_ALIGN_BYTES=64
    INTERFACE_LINK_LIBRARIES "${ARGN}")
endfunction()
_jko_target(jko jko Eigen3::Eigen)
_jko_target(estimators jko-estimators jko::jko)
_jko_target(analysis jko-analysis jko::estimators)
_jko_target(validation jko-validation jko::analysis)
