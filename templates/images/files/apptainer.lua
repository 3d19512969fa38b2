help([[Apptainer (formerly Singularity) runs container images that are files, as an ordinary user.]])
whatis("Name: Apptainer")
whatis("Category: containers")
whatis("URL: https://apptainer.org")

-- Both grow to many gigabytes: they belong on the node's own disk, neither into memory nor into a home that all nodes share.
setenv("APPTAINER_TMPDIR", "/var/tmp")
setenv("APPTAINER_CACHEDIR", pathJoin("/var/tmp", "apptainer-" .. (os.getenv("USER") or "cache")))
