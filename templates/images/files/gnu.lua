help([[
The GNU compilers as the distribution packages them: gcc, g++ and gfortran. Loading this names them to make, CMake and configure scripts.
]])
whatis("Name: GNU compilers")
whatis("Version: " .. myModuleVersion())
whatis("Category: compiler")
family("compiler")
setenv("CC", "gcc")
setenv("CXX", "g++")
setenv("FC", "gfortran")
