# Folders of modulefiles, before those of OpenHPC: images and the design's phases place theirs in the first; the second is for the
# administrator, and every node sees it.
MODULEPATH=/etc/lmod/modules:/home/modulefiles${MODULEPATH:+:$MODULEPATH}
export MODULEPATH
